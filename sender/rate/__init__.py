"""Rate control: how coarsely to encode each label group, given the state of the link."""
