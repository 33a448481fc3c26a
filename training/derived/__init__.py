"""Make labelled pictures where few exist: deformed volumes, projections, phantoms."""
