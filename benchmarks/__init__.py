"""What `make bench` measures, and `make soak` tries. Nothing here runs in the tests."""
