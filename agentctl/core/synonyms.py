"""Words that mean the same where tools are described, also in German, Spanish and French. Pure.

Each line is one group; a word may stand in several. The words are those of operators and developers in general: none
is there for one tool. ``ranking.Ranker`` takes them as ``MEANINGS``.
"""

from __future__ import annotations

from agentctl.core.ranking import group_meanings

_ACTIONS = """
create make add new open start generate set insert compose draft author erstellen anlegen neu crear anadir nuevo creer ajouter nouveau
delete remove erase drop destroy rm discard purge clear wipe uninstall unset rid loschen entfernen eliminar borrar quitar supprimer effacer
update change edit modify alter patch replace adjust rewrite revise correct andern bearbeiten aktualisieren cambiar editar actualizar modifier changer
list show get view display enumerate see all overview inventory which auflisten zeigen zeig liste anzeigen listar mostrar ver lister montrer afficher
get read fetch retrieve obtain load look view open lesen holen abrufen leer obtener lire obtenir recuperer
search find look locate lookup query seek hunt discover suchen suche finden buscar encontrar chercher trouver rechercher
send post publish write deliver submit message notify tell announce senden schicken enviar publicar envoyer publier
write save store put record persist dump schreiben speichern guardar escribir ecrire enregistrer
move rename relocate shift transfer verschieben umbenennen mover renombrar deplacer renommer
copy duplicate clone replicate fork kopieren copiar copier
run execute launch invoke trigger perform start call ausfuhren starten ejecutar lancer executer
stop cancel abort kill halt terminate end interrupt quit stoppen abbrechen beenden parar detener cancelar arreter annuler
restart reboot bounce rerun retry again repeat redo neustarten reiniciar redemarrer relancer
close shut finish resolve complete done schliessen cerrar fermer
compare diff difference differ versus vergleichen unterschied comparar diferencia comparer
convert translate transform change umrechnen konvertieren umwandeln convertir
count number total many quantity zahlen anzahl contar cuantos compter combien
check verify validate test inspect examine prufen comprobar verifier
describe detail details info information explain about metadata properties beschreiben informationen detalles describir decrire informations
upload attach push hochladen subir
download export save pull herunterladen descargar telecharger
merge combine join integrate zusammenfuhren fusionar fusionner
assign give delegate allocate zuweisen asignar
comment reply respond answer remark note react feedback kommentieren antworten comentar responder commenter repondre
approve accept review lgtm genehmigen aprobar approuver
watch follow subscribe track monitor beobachten abonnieren seguir
press click tap push hit klicken drucken pulsar cliquer
type enter fill input tippen eingeben escribir saisir remplir
wait pause sleep until warten esperar attendre
scale replicas grow shrink resize skalieren escalar
sign signed signature gpg signieren firmar signer
connect attach link join verbinden conectar connecter
undo revert reset unstage rollback back ruckgangig deshacer annuler
switch checkout change select choose wechseln cambiar choisir
visit navigate go browse open surf besuchen visitar visiter
pay charge bill payment zahlen pagar payer
refund reimburse money back erstatten erstattung reembolso reembolsar rembourser remboursement
install deploy setup provision installieren instalar installer
store remember memorize keep memory merken recordar
forget delete unlearn vergessen olvidar oublier
"""

_THINGS = """
file document datei archivo fichero fichier
directory folder dir path verzeichnis ordner carpeta directorio dossier repertoire
content contents text body inhalt contenido contenu texto
picture image photo screenshot media bild foto imagen
repository repo project codebase source repositorium repositorio depot
commit revision change history log changeset
branch ref head zweig rama branche
pull request pr merge mr
issue ticket bug problem defect story incidencia
label tag
user person people member account who someone benutzer usuario utilisateur
team group crew squad gruppe equipo equipe
organization org company firma organizacion organisation entreprise
notification alert inbox mention benachrichtigung notificacion
message chat dm conversation nachricht mensaje
channel room chatroom kanal canal
thread conversation discussion hilo
workflow pipeline ci action build job
log logs output stdout trace protokoll registro journal
error failure exception crash fault fehler fallo erreur
alert alarm warning incident firing alerta alerte
dashboard board panel chart graph
metric metrics measure statistic stats prometheus number
table relation tabelle tabla
row record entry document item zeile fila ligne
column field attribute property spalte columna colonne
database db datenbank bd datos donnees base
collection table sammlung coleccion
schema structure columns layout fields definition describe
index indexes indices
query sql select statement abfrage consulta requete
container pod docker
pod container workload
cluster kubernetes k8s
node machine host server worker knoten nodo noeud
namespace project
event events happening
chart helm release package
resource object manifest yaml
page website site web webpage url seite webseite pagina
url link address web http uri
browser chrome tab window
button link element
tab tabs
form input field formular
keyboard key taste tecla
mouse cursor pointer maus
request call http network traffic anfrage
customer client buyer kunde cliente
invoice bill rechnung factura facture
price cost amount fee tariff preis precio prix
product item article goods produkt producto produit
subscription plan recurring abo abonnement suscripcion
coupon discount voucher promo gutschein rabatt cupon descuento
payment charge transaction zahlung pago paiement
balance money funds saldo
dispute chargeback complaint
time clock hour date now uhrzeit zeit hora heure
timezone zone zeitzone
place location spot poi venue ort lugar lieu
address street adresse direccion
coordinates latitude longitude lat lng geo gps koordinaten coordenadas
directions route way navigation itinerary drive weg ruta itineraire
distance far length km miles travel entfernung distancia
elevation altitude height hohe altitud
restaurant cafe shop business local
space disk storage size bytes big large free speicherplatz platz espacio espace
memory ram arbeitsspeicher memoria memoire
cpu processor load usage consumption top
graph knowledge entities relations
entity node thing concept
fact observation note
emoji reaction smiley
profile details account
secret password credential token key leak geheimnis contrasena
security vulnerability cve advisory scanning
permission access rights role rol berechtigung
dependency package library dependabot
artifact artefact binary output
release version published
first head top beginning start
last tail end bottom latest recent newest
recursive tree nested hierarchy
whitelist allowlist access ip
slow performance latency speed
oncall on-call shift rota duty
annotation marker
percentile histogram p95 p99
backup export dump
gist snippet
star favorite bookmark
dialog popup alert modal prompt confirm
dropdown select option menu
size dimensions width height
local filesystem disk
javascript js script code
code source program
"""

#: Each word's stem, and the stems of the words that mean the same.
MEANINGS = group_meanings([*_ACTIONS.split("\n"), *_THINGS.split("\n")])
