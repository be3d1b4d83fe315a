"""What the program does to a picture, shown: pictures beside each other, a wipe from one video to another, a page."""

from rfdn_stream.jobs.compare.duo import Duo as Duo
from rfdn_stream.jobs.compare.duo import open_duo as open_duo
from rfdn_stream.jobs.compare.moments import is_image as is_image
from rfdn_stream.jobs.compare.page import SECONDS as SECONDS
from rfdn_stream.jobs.compare.page import Media as Media
from rfdn_stream.jobs.compare.page import media_of_pictures as media_of_pictures
from rfdn_stream.jobs.compare.page import media_of_videos as media_of_videos
from rfdn_stream.jobs.compare.page import png_of as png_of
from rfdn_stream.jobs.compare.page import write_page as write_page
from rfdn_stream.jobs.compare.page import write_whole as write_whole
from rfdn_stream.jobs.compare.scores import score as score
from rfdn_stream.jobs.compare.stills import Stills as Stills
from rfdn_stream.jobs.compare.stills import still_of as still_of
from rfdn_stream.jobs.compare.stills import stills_of_two as stills_of_two
from rfdn_stream.jobs.compare.stills import told_apart as told_apart
from rfdn_stream.jobs.compare.views import WAYS as WAYS
from rfdn_stream.jobs.compare.views import Crop as Crop
from rfdn_stream.jobs.compare.wipe import write_wipe as write_wipe
