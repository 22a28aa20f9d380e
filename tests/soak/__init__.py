"""An hour of schedules while everything around them breaks."""
