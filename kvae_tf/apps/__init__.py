"""What the scripts call: command line, videos, simulation, recording, benchmarks."""
