"""Components and how they are found."""
