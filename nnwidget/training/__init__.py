"""What happens over the steps of a training: its boundaries, what is recorded at what price, and its history."""
