"""WebDataset shards: writing, indexing, reading."""

from datamodules.shards.manifest import split_urls
from datamodules.shards.remote import Remote
from datamodules.shards.source import TARGETS, ShardSource
from datamodules.shards.tar_index import Member, TarIndex, index_tar
from datamodules.shards.urls import expand_urls
from datamodules.shards.writer import MANIFEST, write_shards

__all__ = [
    "MANIFEST",
    "TARGETS",
    "Member",
    "Remote",
    "ShardSource",
    "TarIndex",
    "expand_urls",
    "index_tar",
    "split_urls",
    "write_shards",
]
