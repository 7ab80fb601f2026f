"""What a run was: the model that all views read, and how spans become it."""
