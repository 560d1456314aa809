"""What several apps share: flags, input and output."""
