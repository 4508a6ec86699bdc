"""What re-ordering a reading list gives to some and takes from others: closed forms, and a simulation on real arrivals."""
