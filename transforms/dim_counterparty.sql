-- One row per counterparty, with its present legal address.
-- personal: counterparty_legal_name, commercial_contact, delivery_contact
SELECT
    counterparty.counterparty_id,
    counterparty.counterparty_legal_name,
    address.address_line_1 AS counterparty_legal_address_line_1,
    address.address_line_2 AS counterparty_legal_address_line_2,
    address.district AS counterparty_legal_district,
    address.city AS counterparty_legal_city,
    address.postal_code AS counterparty_legal_postal_code,
    address.country AS counterparty_legal_country,
    address.phone AS counterparty_legal_phone_number
FROM counterparty
LEFT JOIN address ON counterparty.legal_address_id = address.address_id
