"""Countries with the place of their payments, for the distance between two payments."""

from __future__ import annotations

import math

# Latitude and longitude, in degrees, of where most of a country's payments are made.
COUNTRIES = {
    "us": (39.8, -98.6),
    "ca": (45.4, -75.7),
    "mx": (19.4, -99.1),
    "br": (-23.5, -46.6),
    "gb": (51.5, -0.1),
    "fr": (48.9, 2.4),
    "de": (51.2, 10.4),
    "es": (40.4, -3.7),
    "pl": (52.2, 21.0),
    "ng": (6.5, 3.4),
    "in": (19.1, 72.9),
    "id": (-6.2, 106.8),
    "jp": (35.7, 139.7),
    "au": (-33.9, 151.2),
}
_EARTH_KM = 6_371.0


def distance_km(here: str, there: str) -> float:
    """Returns the great-circle distance of two countries of COUNTRIES, by the haversine formula."""
    (lat, lon), (lat2, lon2) = (tuple(map(math.radians, COUNTRIES[one])) for one in (here, there))
    half = math.sin((lat2 - lat) / 2) ** 2
    half += math.cos(lat) * math.cos(lat2) * math.sin((lon2 - lon) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(half))


DISTANCES = {(a, b): distance_km(a, b) for a in COUNTRIES for b in COUNTRIES if a != b}
