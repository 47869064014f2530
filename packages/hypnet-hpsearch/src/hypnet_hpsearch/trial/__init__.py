"""The process around one trial, and the files that it shares with the driver.

Every trial imports this package, so it uses nothing beyond the standard library.

Private: `hypnet_hpsearch` exports `report`.
"""
