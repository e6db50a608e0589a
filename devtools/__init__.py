"""What ./dev does: private servers, the demo, the tests; standard library only."""
