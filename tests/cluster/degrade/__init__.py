"""What still works while a part is away: claims (:mod:`.rows`), machines they are tried on, the page they make."""
