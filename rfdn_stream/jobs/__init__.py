"""Whole jobs: a file in, a checked file out."""

from rfdn_stream.jobs.file import Result as Result
from rfdn_stream.jobs.file import upscale as upscale
