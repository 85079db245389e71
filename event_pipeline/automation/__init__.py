"""What starts runs and for which hours: jobs, schedule, sensor, and runs inside the process of the command line."""
