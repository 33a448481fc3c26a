"""Build training shards: ingest, normalise, regions, phrases, dedupe, split, shard."""
