"""HL7 v2: messages as text, built and parsed, and MLLP under them. Knows neither the store nor what a study is."""
