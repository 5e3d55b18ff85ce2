"""What touches the world: sources of photos, the catalogue in SQL, and the Prefect tasks over them."""
