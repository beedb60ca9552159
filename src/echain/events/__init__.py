"""Events: drafts, publication, the projection of what the chain says of them."""
