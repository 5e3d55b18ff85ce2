"""The order of things: one flow a file. What a step does stands in `tasks`."""
