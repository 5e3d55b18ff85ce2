"""When and where: what Prefect is told of the flows, and the processes that run them. No logic of theirs."""
