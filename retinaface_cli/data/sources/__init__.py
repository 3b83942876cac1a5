"""What the user names on the command line -> the images and videos behind it; a kind of source is one file.

`files.py` has single images and videos, `shards.py` tar files of images; both may lie at addresses. `listing.py` finds
them, `work.py` deals them out, `shard_index.py` finds images in shards by their names.
"""

from retinaface_cli.data.sources.files import MemberBytes, Source, SourceItem
from retinaface_cli.data.sources.listing import SourceListing, describe_left_out, find_sources, make_source
from retinaface_cli.data.sources.shard_index import ShardIndex
from retinaface_cli.data.sources.shards import Shard
from retinaface_cli.data.sources.work import InputStream, Part, Work

__all__ = [
    "InputStream",
    "MemberBytes",
    "Part",
    "Shard",
    "ShardIndex",
    "Source",
    "SourceItem",
    "SourceListing",
    "Work",
    "describe_left_out",
    "find_sources",
    "make_source",
]
