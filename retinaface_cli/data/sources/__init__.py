"""What the user names on the command line -> the images and videos behind it; a kind of source is one file.

`files.py` has single images and videos, `shards.py` tar files of images, `remote.py` both at addresses, `lists.py`
lists that are read as a stream. `listing.py` finds them, `parts.py` deals them out, `shard_index.py` finds images in
shards by their names.
"""

from retinaface_cli.data.sources.files import MemberBytes, Source, SourceItem
from retinaface_cli.data.sources.listing import SourceListing, describe_left_out, find_sources, make_source
from retinaface_cli.data.sources.lists import InputStream
from retinaface_cli.data.sources.parts import Part, Work
from retinaface_cli.data.sources.shard_index import ShardIndex
from retinaface_cli.data.sources.shards import Shard

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
