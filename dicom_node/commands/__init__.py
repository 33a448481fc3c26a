"""What each command of `cli` does, but for serving and working."""
