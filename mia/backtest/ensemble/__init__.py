"""Ensembles: members run alone, weights fitted on earlier windows only, and what they came to on the windows after."""
