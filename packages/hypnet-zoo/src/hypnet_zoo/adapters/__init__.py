"""Export of what was generated for one condition, for use without hypnet."""
