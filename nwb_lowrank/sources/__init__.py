"""Sources: each file turns one kind of data into Trials. They use numpy and pandas, never torch."""
