"""echain sells event tickets on a public chain and admits their holders at the door."""
