"""What the user names on the command line -> the images and videos behind it; a kind of source is one file.

`files.py` has single images and videos, `shards.py` tar files of images; `listing.py` finds them.
"""

from retinaface_cli.data.sources.files import MemberBytes, Source, SourceItem
from retinaface_cli.data.sources.listing import SourceListing, describe_left_out, find_sources
from retinaface_cli.data.sources.parts import Part, deal_parts
from retinaface_cli.data.sources.shards import Shard

__all__ = [
    "MemberBytes",
    "Part",
    "Shard",
    "Source",
    "SourceItem",
    "SourceListing",
    "deal_parts",
    "describe_left_out",
    "find_sources",
]
