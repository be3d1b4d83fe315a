"""``python -m rfdn_stream`` is the command ``rfdn-stream``."""

from rfdn_stream.cli import main

main()
