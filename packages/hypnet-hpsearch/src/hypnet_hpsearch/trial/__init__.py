"""The process around one trial. Only the standard library is imported here, because every trial pays for it."""
