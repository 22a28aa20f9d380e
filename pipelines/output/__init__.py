"""What a run hands over: new shards, subset files, versions, exports."""
