"""Questions to ML Metadata: what a served model was made from, and what data went into it."""
