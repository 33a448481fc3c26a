"""Work in a child process with limits, which may die without taking the node along."""
