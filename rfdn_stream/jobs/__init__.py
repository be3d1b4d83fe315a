"""Whole jobs: a file in, a checked file out; many files into a folder."""

from rfdn_stream.jobs.batch import means_folder as means_folder
from rfdn_stream.jobs.batch import upscale_all as upscale_all
from rfdn_stream.jobs.file import Result as Result
from rfdn_stream.jobs.file import upscale as upscale
