"""Results of a search: tables, exports, plots and summaries over seeds."""
