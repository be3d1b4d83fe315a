#!/bin/sh
# Any live source in mpv, which reads what rfdn-stream sends to it: live-to-mpv.sh [SOURCE]
rfdn-stream live "${1:-camera}" udp://127.0.0.1:5000 &
trap 'kill $!' EXIT
mpv --profile=low-latency udp://127.0.0.1:5000
