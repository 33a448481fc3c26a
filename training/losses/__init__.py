"""Say how wrong an answer is: pure functions of tensors, each with its paper."""
