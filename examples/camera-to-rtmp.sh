#!/bin/sh
# A webcam, sharper, to any server that takes RTMP (nginx, MediaMTX, YouTube, Twitch): camera-to-rtmp.sh ADDRESS
exec rfdn-stream live camera "${1:-rtmp://localhost/live/camera}" --size 640x360 --rate 30 --bitrate 4000
