"""What this machine has for rfdn-stream, what it lacks, what that costs, and how to get it."""
