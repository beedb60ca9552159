"""Pictures: taken in, made anew in the sizes that pages need, and named by their content."""
