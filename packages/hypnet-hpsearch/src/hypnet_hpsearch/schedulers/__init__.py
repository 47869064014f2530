"""What runs jobs: one module per scheduler."""
