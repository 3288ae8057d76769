"""Words that mean the same where tools are described, also in German, Spanish and French. Pure.

A semicolon ends a group of words; a word may stand in several groups. The words are those of operators and developers
in general, and of what tools act on. ``ranking.Ranker`` takes them as ``meanings``.
"""

from __future__ import annotations

from agentctl.core.ranking import group_meanings

_ACTIONS = """
create make add new open start generate set insert compose draft author erstellen anlegen neu crear anadir nuevo creer
ajouter nouveau; delete remove erase drop destroy rm discard purge clear wipe uninstall unset rid loschen entfernen
eliminar borrar quitar supprimer effacer; update change edit modify alter patch replace adjust rewrite revise correct
andern bearbeiten aktualisieren cambiar editar actualizar modifier changer; what which list show get view display
enumerate see all preview overview inventory auflisten zeigen zeig liste anzeigen listar mostrar ver lister montrer
afficher; what get read fetch retrieve obtain load look view open lesen holen abrufen leer obtener lire obtenir
recuperer; search find look locate lookup query seek hunt discover suchen suche finden buscar encontrar chercher
trouver rechercher; send post publish write deliver submit message notify tell announce senden schicken enviar
publicar envoyer publier; write save store put record persist dump schreiben speichern guardar escribir ecrire
enregistrer; move rename relocate shift transfer verschieben umbenennen mover renombrar deplacer renommer; copy
duplicate clone replicate fork kopieren copiar copier; run execute launch invoke trigger perform start call ausfuhren
starten ejecutar lancer executer; stop cancel abort kill halt terminate end interrupt quit stoppen abbrechen beenden
parar detener cancelar arreter annuler; restart reboot bounce rerun retry again repeat redo neustarten reiniciar
redemarrer relancer; close shut quit exit finish resolve complete done schliessen cerrar fermer; compare diff
difference differ versus vergleichen unterschied comparar diferencia comparer; convert translate transform change
umrechnen konvertieren umwandeln convertir; count number total many quantity zahlen anzahl contar cuantos compter
combien; check verify validate test inspect examine prufen comprobar verifier; describe detail details info
information explain about metadata properties beschreiben informationen detalles describir decrire informations;
upload attach push hochladen subir; download export save pull herunterladen descargar telecharger; merge combine join
integrate zusammenfuhren fusionar fusionner; assign give delegate allocate zuweisen asignar; comment reply respond
answer remark note react feedback kommentieren antworten comentar responder commenter repondre; approve accept review
lgtm genehmigen aprobar approuver; watch follow subscribe track monitor beobachten abonnieren seguir; press click tap
push hit klicken drucken pulsar cliquer; type enter fill input tippen eingeben escribir saisir remplir; wait pause
sleep until warten esperar attendre; scale replicas grow shrink resize skalieren escalar; sign signed signature gpg
signieren firmar signer; connect attach link join verbinden conectar connecter; undo revert reset unstage rollback
back ruckgangig deshacer annuler; switch checkout change select choose wechseln cambiar choisir; visit navigate go
browse open surf besuchen visitar visiter; pay charge bill payment zahlen pagar payer; refund reimburse money back
erstatten erstattung reembolso reembolsar rembourser remboursement; install deploy setup provision installieren
instalar installer; store remember memorize keep memory merken recordar; say said talk spoke discuss written message;
know known; preview next dry; update upgrade change; reach access connect; forget delete unlearn vergessen olvidar
oublier
"""

_THINGS = """
file document datei archivo fichero fichier; directory folder dir path verzeichnis ordner carpeta directorio dossier
repertoire; content contents text body inside within inhalt contenido contenu texto; picture image photo screenshot
media bild foto imagen; repository repo project codebase source repositorium repositorio depot; commit revision change
history log changeset; branch ref head zweig rama branche; pull request pr merge mr; issue ticket bug problem defect
story incidencia; label tag; user person people member account who someone benutzer usuario utilisateur; team group
crew squad gruppe equipo equipe; organization org company firma organizacion organisation entreprise; notification
alert inbox mention benachrichtigung notificacion; message chat dm conversation nachricht mensaje; channel room
chatroom kanal canal; thread conversation discussion hilo; log logs output stdout trace protokoll registro journal;
error failure exception crash fault fehler fallo erreur; alert alarm warning incident firing alerta alerte; dashboard
board panel chart graph; metric metrics measure statistic stats prometheus number; table relation tabelle tabla; row
record entry document item zeile fila ligne; column field attribute property spalte columna colonne; database db
datenbank bd datos donnees base; collection table sammlung coleccion; schema structure columns layout fields
definition describe; index indexes indices; query sql select statement abfrage consulta requete; container pod docker;
pod container workload; cluster kubernetes k8s; node machine host server worker knoten nodo noeud; namespace project;
event events happening; chart helm release package; resource object manifest yaml; page website site web webpage url
seite webseite pagina; url link address web http uri; browser chrome tab window; button link element; tab tabs; form
input field formular; keyboard key taste tecla; mouse cursor pointer maus; request call http network traffic anfrage;
customer client buyer kunde cliente; invoice bill rechnung factura facture; price cost amount fee tariff preis precio
prix; product item article goods produkt producto produit; subscription plan recurring abo abonnement suscripcion;
coupon discount voucher promo gutschein rabatt cupon descuento; payment charge transaction zahlung pago paiement;
balance money funds saldo; time clock hour date now uhrzeit zeit hora heure; timezone zone zeitzone; place location
spot poi venue ort lugar lieu; address street adresse direccion; coordinates latitude longitude lat lng geo gps
koordinaten coordenadas; directions route way navigation itinerary drive weg ruta itineraire; distance far length km
miles travel entfernung distancia; elevation altitude height hohe altitud; place places restaurant cafe shop store
business hotel bar pharmacy supermarket pizza airport hospital museum station bank; near nearby close around here
local neighborhood; reach arrive travel way directions route; internet online web google bing website; article news
blog post story page website; sell sale sold product price; buy purchase order payment checkout; paid pay payment
settled; unpaid open overdue due outstanding invoice; mail email e-mail address inbox; calendar appointment meeting
event schedule; today tomorrow yesterday date time; spat uhr zeit time clock; outage downtime incident down broken;
duty call pager shift schedule; night call; increase raise scale grow more number; decrease lower reduce scale shrink
less number; average sum group aggregate total statistics; statistics stats figures numbers; deployment deploy
workload service resource; service ingress deployment resource; remove deployment uninstall delete resource;
everything all every complete whole entire; everyone everybody people users members all; somebody someone anybody
anyone who user; missing absent unset; broken failing failed error crash; crash restart error log; fix repair solve
resolve edit; unlink detach disconnect remove relation link; register sign enroll add create; several many multiple
bulk batch; both two multiple several; set put change update; relation relationship link connection edge; find locate
search where; name title called; inside within exec; permitted allowed may permission access; reviewer review
assignee; parent child children sub nested subtask; urgent priority severity; public private secret visibility;
language translation translate; weather forecast temperature; random number sample; summarize summary overview short
brief; picture render image png graph; report export document pdf; print pdf page; website page web url fetch; space
disk storage size bytes big large free speicherplatz platz espacio espace; memory ram arbeitsspeicher memoria memoire;
cpu processor load usage consumption top; graph knowledge entities relations; entity node thing concept; profile
details account; secret password credential token key leak geheimnis contrasena; security vulnerability cve advisory
scanning; permission access rights role rol berechtigung; dependency package library dependabot; artifact artefact
binary output; release version published; first head top beginning start; last tail end bottom latest recent newest;
recursive tree nested hierarchy; whitelist allowlist access ip; slow performance latency speed; oncall on-call shift
rota duty; percentile histogram p95 p99; backup export dump; gist snippet; dialog popup alert modal prompt confirm;
dropdown select option menu; when date dates time timestamp modified wann cuando quand; who user author person member
wer quien qui; where path location place wo donde; much many count number amount; colleague coworker person people
profile employee; today now current moment latest recent; phone contact title job details profile; whoami account user
signed authenticated; pr prs pull request; size dimensions width height; picture image photo jpg jpeg png gif media;
sound audio music mp3 video media; size big large heavy biggest largest bytes huge; pattern glob wildcard regex mask;
state status condition clean dirty uncommitted; stage staged staging index cached; history log past earlier previous;
author who wrote written blame by; remember recall memory know knowledge brain; fact observation note info information
detail statement; issue bug ticket task problem defect report feature; comment reply remark discussion; merge land
integrate squash; review approve lgtm feedback request; workflow ci build pipeline action job run; build compile test
job; notification inbox unread mention; vulnerability vulnerable cve insecure security dangerous outdated; secret
password token key credential leaked; discussion forum post thread topic question; star favorite like bookmark; board
kanban card project; release version changelog newest; navigate go open visit address; screenshot picture capture
photo shot snapshot; console log message javascript warning; network request traffic http xhr ajax; evaluate execute
script javascript run; upload attach send hand; resize size window viewport smaller bigger width height; wait delay
until appear appears visible; hover over mouse tooltip; drag drop move; key enter return escape keyboard shortcut;
dropdown select choose pick option combobox; document record entry row item object; filter match where condition
criteria; insert add put store import save; schema structure field type shape column; drop delete remove throw; plan
explain performance; allow permit whitelist access grant; dashboard panel graph chart visualization; metric measure
series usage cpu; alert alarm warn notify fire rule; contact recipient receiver destination notify delivered; incident
outage down emergency problem; duty oncall pager; mark marker annotation note; link url address share; slow latency
long performance delay; log output printed print console; exec shell inside command; usage cpu memory consumption load
resource use eat; event warning happened; apply manifest yaml create update; scale replica instance; context cluster
configuration config kubeconfig; answer reply response respond; reaction emoji thumbs like smiley; profile contact
details person; product item catalogue offer; price cost charge amount fee; bill charge invoice customer; finish final
finalize complete; refund money return give; dispute contest chargeback complaint bank; discount coupon percent code
voucher; subscription plan membership upgrade downgrade; high height altitude elevation mountain metre; open opening
hours; far distance kilometer mile; way route direction; ip address network; speed fast index performance; back
previous return before; local filesystem disk; javascript js script code; code source program
"""

#: A command of the shell, and what it does.
_COMMANDS = """
cat read text file; head read first; tail read last log; ls list directory folder entries; mv move rename; cp copy; rm
delete remove; mkdir create directory folder; touch create file; chmod permission access; stat info size dates; du
size bytes directory; df disk space; diff compare; grep search code text; sed edit replace text; tree directory
recursive nested; ps process list running; top cpu memory usage; ssh shell exec command remote; shell exec command
terminal; curl wget fetch download url; kubectl kubernetes; psql sql query database
"""

#: Each word's stem, and the stems of the words that mean the same.
MEANINGS = group_meanings(";".join((_ACTIONS, _THINGS, _COMMANDS)).split(";"))
