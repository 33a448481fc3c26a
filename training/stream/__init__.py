"""Stream shards as batches: shuffled, by many workers, resumable to the sample."""
