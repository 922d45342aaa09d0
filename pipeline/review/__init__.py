"""What a change of a model would do, shown to its author before it is applied."""
