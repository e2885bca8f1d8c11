"""A made help centre: questions and answers in six languages, from 300 pairs down to 10, some of them translations."""

import csv

PAIRS = {"en": 300, "de": 150, "fr": 80, "es": 40, "sw": 20, "ha": 10}

_NOUNS = {
    "en": """
        password invoice subscription account order parcel refund voucher address newsletter calendar
        backup printer contract licence profile payment reminder warranty booking ticket invitation
        certificate report delivery""",
    "de": """
        Passwort Rechnung Abonnement Konto Bestellung Paket Erstattung Gutschein Adresse Rundbrief
        Kalender Sicherung Drucker Vertrag Lizenz Profil Zahlung Erinnerung Garantie Buchung Fahrkarte
        Einladung Zeugnis Bericht Lieferung""",
    "fr": """
        mot-de-passe facture abonnement compte commande colis remboursement bon adresse lettre
        calendrier sauvegarde imprimante contrat licence profil paiement rappel garantie réservation
        billet invitation certificat rapport livraison""",
    "es": """
        contraseña factura suscripción cuenta pedido paquete reembolso vale dirección boletín calendario
        copia impresora contrato licencia perfil pago recordatorio garantía reserva billete invitación
        certificado informe entrega""",
    "sw": """
        nenosiri ankara usajili akaunti agizo kifurushi rejesho vocha anwani jarida kalenda nakala
        printa mkataba leseni wasifu malipo kikumbusho dhamana nafasi tiketi mwaliko cheti ripoti
        usafirishaji""",
    "ha": """
        kalmar-sirri takardar-kudi rajista asusu oda kunshi mayar-da-kudi bauca adireshi wasika kalanda
        ajiya firinta kwangila lasisi bayani biya tunatarwa garanti ajiyar-wuri tikiti gayyata shaida
        rahoto isarwa""",
}
_VERBS = {
    "en": """
        change cancel find print download renew confirm share delete copy check receive""",
    "de": """
        ändern stornieren finden drucken herunterladen verlängern bestätigen teilen löschen kopieren
        prüfen erhalten""",
    "fr": """
        modifier annuler trouver imprimer télécharger renouveler confirmer partager supprimer copier
        vérifier recevoir""",
    "es": """
        cambiar cancelar encontrar imprimir descargar renovar confirmar compartir eliminar copiar
        comprobar recibir""",
    "sw": """
        kubadilisha kughairi kupata kuchapisha kupakua kuhuisha kuthibitisha kushiriki kufuta kunakili
        kukagua kupokea""",
    "ha": """
        canza soke nemo buga sauke sabunta tabbatar raba goge kwafi duba karba""",
}
# Hardly four words in a row are the same in two answers: one that repeats another's words is no pair of its own.
_TEXTS = {
    "en": (
        "How can I {verb} my {noun} in the app?",
        "To {verb} the {noun}, open your {noun} on page {page} and choose {verb}. When the {noun} is ready, we "
        "{verb} it with {page} other things.",
    ),
    "de": (
        "Wie kann ich in der App {noun} {verb}?",
        "Um {noun} zu {verb}, öffnen Sie {noun} auf Seite {page} und wählen {verb}. Sobald wir {noun} haben, {verb} "
        "wir es mit {page} weiteren Dingen.",
    ),
    "fr": (
        "Comment puis-je {verb} {noun} dans l'application ?",
        "Pour {verb} {noun}, ouvrez votre {noun} à la page {page} et choisissez {verb}. Quand {noun} est prêt, nous "
        "pouvons {verb} avec {page} autres choses.",
    ),
    "es": (
        "¿Cómo puedo {verb} {noun} en la aplicación?",
        "Para {verb} {noun}, abra su {noun} en la página {page} y elija {verb}. Cuando {noun} esté listo, podemos "
        "{verb} con otras {page} cosas.",
    ),
    "sw": (
        "Ninawezaje {verb} {noun} katika programu?",
        "Ili {verb} {noun}, fungua {noun} yako kwenye ukurasa wa {page} na uchague {verb}. Baada ya {noun} kuwa "
        "tayari, tunaweza {verb} pamoja na {page} vitu vingine.",
    ),
    "ha": (
        "Ta yaya zan iya {verb} {noun} a cikin manhaja?",
        "Domin {verb} {noun}, bude {noun} a shafi na {page} ka zabi {verb}. Bayan {noun} ya shirya, za mu iya {verb} "
        "tare da sauran abubuwa {page}.",
    ),
}


def help_centre():
    """Yield rows of id, language, question and answer; rows of one id translate each other."""
    for language, count in PAIRS.items():
        nouns, verbs = _NOUNS[language].split(), _VERBS[language].split()
        for n in range(count):
            number = n * 7 % 300  # small languages are spread over what the large ones have
            noun, verb = nouns[number % len(nouns)], verbs[number // len(nouns)]
            question, answer = (text.format(noun=noun, verb=verb, page=number) for text in _TEXTS[language])
            yield {"id": f"faq-{number}", "language": language, "question": question, "answer": answer}


def write_help_centre(file):
    """Write the rows as a CSV file, and return it."""
    with file.open("w", newline="", encoding="utf-8") as sink:
        table = csv.DictWriter(sink, ["id", "language", "question", "answer"])
        table.writeheader()
        table.writerows(help_centre())
    return file
