"""Pictures of an evaluation, one kind a file: functions that make a figure, whose title says the finding."""
