"""Write the report of an export."""
