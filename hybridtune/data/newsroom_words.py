"""Word lists of the `newsroom` corpus: one concept a line, one column a language.

The columns stand in the order of ``LANGUAGES``. A cell ``a/b`` holds two forms: of an action the noun and the
past tense, of a site the object form and the form after a noun, of a place how a headline and how a story name
it, of a question two phrasings, of a town its Latin and its Cyrillic spelling. COMMON words occur in stories
that are translated, LOCAL ones and the towns only in stories that no other newsroom picked up, and in the
held-out parts. Written for this project; nothing is taken from a data set.
"""

# ruff: noqa: E501 - a concept stays on one line, so that its translations can be read side by side

LANGUAGES: tuple[str, ...] = ("en", "de", "es", "ru", "sw", "ha")

COMMON_ACTIONS = """
closure of/closed | Schließung/schlossen | cierre de/cerraron | закрытие/закрыли | kufungwa kwa/walifunga | rufe/sun rufe
construction of/built | Bau/bauten | construcción de/construyeron | строительство/построили | ujenzi wa/walijenga | ginin/sun gina
sale of/sold | Verkauf/verkauften | venta de/vendieron | продажа/продали | uuzaji wa/waliuza | sayar da/sun sayar da
purchase of/bought | Kauf/kauften | compra de/compraron | покупка/купили | ununuzi wa/walinunua | sayen/sun sayi
visit to/visited | Besuch/besuchten | visita a/visitaron | посещение/посетили | ziara ya/walitembelea | ziyarar/sun ziyarci
repair of/repaired | Reparatur/reparierten | arreglo de/arreglaron | ремонт/починили | ukarabati wa/walikarabati | gyaran/sun gyara
destruction of/destroyed | Zerstörung/zerstörten | derribo de/derribaron | разрушение/разрушили | kubomolewa kwa/walibomoa | rushewar/sun rusa
inspection of/inspected | Prüfung/prüften | revisión de/revisaron | проверка/проверили | ukaguzi wa/walikagua | binciken/sun bincika
opening of/opened | Eröffnung/eröffneten | apertura de/abrieron | открытие/открыли | ufunguzi wa/walifungua | buɗe/sun buɗe
blockade of/blocked | Sperrung/sperrten | bloqueo de/bloquearon | блокада/заблокировали | kuzibwa kwa/waliziba | toshe/sun toshe
capture of/captured | Besetzung/besetzten | toma de/tomaron | захват/захватили | kutekwa kwa/waliteka | mamaye/sun mamaye
expansion of/expanded | Erweiterung/erweiterten | ampliación de/ampliaron | расширение/расширили | upanuzi wa/walipanua | faɗaɗa/sun faɗaɗa
evacuation of/evacuated | Räumung/räumten | desalojo de/desalojaron | эвакуация/эвакуировали | uhamishaji wa/walihamisha | kwashe/sun kwashe
defence of/defended | Verteidigung/verteidigten | defensa de/defendieron | защита/защитили | ulinzi wa/walilinda | kariyar/sun kare
looting of/looted | Plünderung/plünderten | saqueo de/saquearon | разграбление/разграбили | uporaji wa/walipora | wawashe/sun wawashe
"""

LOCAL_ACTIONS = """
cleaning of/cleaned | Reinigung/reinigten | limpieza de/limpiaron | уборка/убрали | usafishaji wa/walisafisha | tsaftar/sun tsaftace
rental of/rented | Pacht/pachteten | alquiler de/alquilaron | аренда/арендовали | ukodishaji wa/walikodi | hayar/sun yi hayar
abandonment of/abandoned | Aufgabe/verließen | abandono de/abandonaron | оставление/покинули | kutelekezwa kwa/walitelekeza | watsi da/sun yi watsi da
survey of/surveyed | Vermessung/vermaßen | medición de/midieron | обмер/обмерили | upimaji wa/walipima | awon/sun auna
decoration of/decorated | Verzierung/verzierten | adorno de/adornaron | украшение/украсили | upambaji wa/walipamba | ƙawata/sun ƙawata
"""

COMMON_SITES = """
the bridge | die Brücke/der Brücke | el puente | мост/моста | daraja | gada
the school | die Schule/der Schule | la escuela | школу/школы | shule | makaranta
the hospital | das Krankenhaus/des Krankenhauses | el hospital | больницу/больницы | hospitali | asibiti
the market | den Markt/des Marktes | el mercado | рынок/рынка | soko | kasuwa
the harbour | den Hafen/des Hafens | el puerto | порт/порта | bandari | tashar ruwa
the airport | den Flughafen/des Flughafens | el aeropuerto | аэропорт/аэропорта | uwanja wa ndege | filin jirgi
the road | die Straße/der Straße | la carretera | дорогу/дороги | barabara | hanya
the factory | die Fabrik/der Fabrik | la fábrica | завод/завода | kiwanda | masana'anta
the library | die Bücherei/der Bücherei | la biblioteca | библиотеку/библиотеки | maktaba | ɗakin karatu
the church | die Kirche/der Kirche | la iglesia | церковь/церкви | kanisa | coci
the mosque | die Moschee/der Moschee | la mezquita | мечеть/мечети | msikiti | masallaci
the prison | das Gefängnis/des Gefängnisses | la cárcel | тюрьму/тюрьмы | gereza | kurkuku
the dam | den Staudamm/des Staudamms | la presa | плотину/плотины | bwawa | madatsar ruwa
the railway | die Bahnstrecke/der Bahnstrecke | el ferrocarril | железную дорогу/железной дороги | reli | layin dogo
the power plant | das Kraftwerk/des Kraftwerks | la central | электростанцию/электростанции | mtambo wa umeme | tashar lantarki
the university | die Hochschule/der Hochschule | la universidad | институт/института | chuo kikuu | jami'a
the warehouse | das Lager/des Lagers | el almacén | склад/склада | ghala | rumbun ajiya
the court | das Gericht/des Gerichts | el juzgado | суд/суда | mahakama | kotu
the tower | den Turm/des Turms | la torre | башню/башни | mnara | hasumiya
the palace | das Schloss/des Schlosses | el palacio | дворец/дворца | ikulu | fada
the farm | den Bauernhof/des Bauernhofs | la granja | ферму/фермы | shamba | gona
the mine | das Bergwerk/des Bergwerks | la mina | шахту/шахты | mgodi | wurin haƙar ma'adinai
the embassy | die Botschaft/der Botschaft | la embajada | посольство/посольства | ubalozi | ofishin jakadanci
the barracks | die Kaserne/der Kaserne | el cuartel | казарму/казармы | kambi ya jeshi | barikin soja
the town hall | das Rathaus/des Rathauses | el ayuntamiento | ратушу/ратуши | ukumbi wa mji | zauren gari
the orphanage | das Waisenhaus/des Waisenhauses | el orfanato | приют/приюта | kituo cha yatima | gidan marayu
"""

LOCAL_SITES = """
the mill | die Mühle/der Mühle | el molino | мельницу/мельницы | kinu | injin niƙa
the well | den Brunnen/des Brunnens | el pozo | колодец/колодца | kisima | rijiya
the bakery | die Bäckerei/der Bäckerei | la panadería | пекарню/пекарни | duka la mikate | gidan burodi
the lighthouse | den Leuchtturm/des Leuchtturms | el faro | маяк/маяка | taa ya pwani | fitilar teku
the cemetery | den Friedhof/des Friedhofs | el cementerio | кладбище/кладбища | makaburi | maƙabarta
the pharmacy | die Apotheke/der Apotheke | la farmacia | аптеку/аптеки | duka la dawa | kantin magani
the stable | den Stall/des Stalls | el establo | конюшню/конюшни | zizi | barga
the swimming pool | das Schwimmbad/des Schwimmbads | la piscina | бассейн/бассейна | kidimbwi | wurin iyo
the slaughterhouse | das Schlachthaus/des Schlachthauses | el matadero | бойню/бойни | machinjio | mayanka
the guesthouse | die Herberge/der Herberge | la posada | гостиницу/гостиницы | nyumba ya wageni | masauki
the nursery | die Krippe/der Krippe | la guardería | детский сад/детского сада | chekechea | makarantar yara
the tannery | die Gerberei/der Gerberei | la curtiduría | кожевню/кожевни | kiwanda cha ngozi | majema
the barn | die Scheune/der Scheune | el granero | амбар/амбара | banda | rumfa
the playground | den Spielplatz/des Spielplatzes | el parque infantil | площадку/площадки | uwanja wa michezo | filin wasa
"""

COMMON_PLACES = """
in Germany/in Berlin | in Deutschland/in Berlin | en Alemania/en Berlín | в Германии/в Берлине | nchini Ujerumani/mjini Berlin | a Jamus/a birnin Berlin
in Greece/in Athens | in Griechenland/in Athen | en Grecia/en Atenas | в Греции/в Афинах | nchini Ugiriki/mjini Athens | a Girka/a birnin Atina
in Poland/in Warsaw | in Polen/in Warschau | en Polonia/en Varsovia | в Польше/в Варшаве | nchini Poland/mjini Warsaw | a Poland/a birnin Warsaw
in Russia/in Moscow | in Russland/in Moskau | en Rusia/en Moscú | в России/в Москве | nchini Urusi/mjini Moscow | a Rasha/a birnin Mosko
in Egypt/in Cairo | in Ägypten/in Kairo | en Egipto/en El Cairo | в Египте/в Каире | nchini Misri/mjini Kairo | a Masar/a birnin Alƙahira
in Denmark/in Copenhagen | in Dänemark/in Kopenhagen | en Dinamarca/en Copenhague | в Дании/в Копенгагене | nchini Denmaki/mjini Copenhagen | a Denmark/a birnin Kwafanhagan
in Austria/in Vienna | in Österreich/in Wien | en Austria/en Viena | в Австрии/в Вене | nchini Austria/mjini Vienna | a Ostiriya/a birnin Vienna
in Portugal/in Lisbon | in Portugal/in Lissabon | en Portugal/en Lisboa | в Португалии/в Лиссабоне | nchini Ureno/mjini Lisbon | a Fotugal/a birnin Lisbon
in Belgium/in Brussels | in Belgien/in Brüssel | en Bélgica/en Bruselas | в Бельгии/в Брюсселе | nchini Ubelgiji/mjini Brussels | a Beljiyam/a birnin Brussels
in China/in Beijing | in China/in Peking | en China/en Pekín | в Китае/в Пекине | nchini Uchina/mjini Beijing | a Sin/a birnin Beijing
in Italy/in Rome | in Italien/in Rom | en Italia/en Roma | в Италии/в Риме | nchini Italia/mjini Roma | a Italiya/a birnin Rum
in England/in London | in England/in London | en Inglaterra/en Londres | в Англии/в Лондоне | nchini Uingereza/mjini London | a Ingila/a birnin Landan
in Ethiopia/in Addis Ababa | in Äthiopien/in Addis Abeba | en Etiopía/en Adís Abeba | в Эфиопии/в Аддис-Абебе | nchini Ethiopia/mjini Addis Ababa | a Habasha/a birnin Addis Ababa
in Syria/in Damascus | in Syrien/in Damaskus | en Siria/en Damasco | в Сирии/в Дамаске | nchini Syria/mjini Dameski | a Siriya/a birnin Dimashƙu
in Sweden/in Stockholm | in Schweden/in Stockholm | en Suecia/en Estocolmo | в Швеции/в Стокгольме | nchini Uswidi/mjini Stockholm | a Suwidin/a birnin Stockholm
in Kenya/in Nairobi | in Kenia/in Nairobi | en Kenia/en Nairobi | в Кении/в Найроби | nchini Kenya/mjini Nairobi | a ƙasar Kenya/a birnin Nairobi
on the coast/by the sea | an der Küste/am Meer | en la costa/junto al mar | на побережье/у моря | pwani/kando ya bahari | a gaɓar teku/a bakin teku
in the mountains/in the highlands | in den Bergen/im Hochland | en las montañas/en la sierra | в горах/на нагорье | milimani/nyanda za juu | a tsaunuka/a tuddai
on the border/at the frontier | an der Grenze/am Schlagbaum | en la frontera/en el límite del país | на границе/у погранпоста | mpakani/kwenye forodha | a kan iyaka/a bakin iyaka
in the old town/in the historic centre | in der Altstadt/im historischen Kern | en el casco antiguo/en el centro histórico | в старом городе/в историческом центре | mji mkongwe/eneo la kale | a tsohon gari/a tsohuwar unguwa
in the suburbs/on the edge of the city | in den Vororten/am Stadtrand | en las afueras/en la periferia | в пригороде/на окраине | vitongojini/pembezoni mwa jiji | a wajen birni/a bayan gari
in the forest/in the woods | im Wald/im Gehölz | en el bosque/en la arboleda | в лесу/в чаще | msituni/porini | a daji/a kurmi
in the countryside/in the provinces | auf dem Land/in der Provinz | en el campo/en la provincia | в деревне/в глубинке | vijijini/mashambani | a karkara/a ƙauyuka
by the river/on the bank | am Fluss/am Ufer | junto al río/en la orilla | у реки/на берегу | kando ya mto/ukingoni | a gefen kogi/a bakin rafi
"""

TOWNS = """
Whitby/Уитби | Ludlow/Ладлоу | Kendal/Кендал | Penrith/Пенрит
Lüneburg/Люнебург | Passau/Пассау | Bautzen/Баутцен | Husum/Хузум
Soria/Сория | Cuenca/Куэнка | Teruel/Теруэль | Mérida/Мерида
Kaluga/Калуга | Tambov/Тамбов | Pskov/Псков | Vologda/Вологда
Njombe/Нджомбе | Iringa/Иринга | Kitui/Китуи | Tabora/Табора
Katsina/Кацина | Gusau/Гусау | Zaria/Зария | Maradi/Маради
"""

IN_TOWN = """
in {latin} | in {latin} | en {latin} | в городе {cyrillic} | mjini {latin} | a garin {latin}
"""

COMMON_ACTORS = """
police officers | Polizisten | los policías | полицейские | polisi | ƴan sanda
engineers | Techniker | los ingenieros | инженеры | wahandisi | injiniyoyi
soldiers | Soldaten | los militares | солдаты | wanajeshi | sojoji
farmers | Bauern | los campesinos | крестьяне | wakulima | manoma
students | Studierende | los alumnos | студенты | wanafunzi | ɗalibai
doctors | Ärzte | los médicos | врачи | madaktari | likitoci
teachers | Lehrer | los maestros | учителя | walimu | malamai
workers | Arbeiter | los obreros | рабочие | wafanyakazi | ma'aikata
judges | Richter | los jueces | судьи | majaji | alƙalai
ministers | Minister | los ministros | министры | mawaziri | ministoci
merchants | Händler | los comerciantes | торговцы | wafanyabiashara | ƴan kasuwa
rebels | Aufständische | los rebeldes | повстанцы | waasi | ƴan tawaye
drivers | Fahrer | los conductores | водители | madereva | direbobi
volunteers | Freiwillige | los voluntarios | добровольцы | watu wa kujitolea | masu sa kai
investors | Geldgeber | los inversores | вкладчики | wawekezaji | masu zuba jari
villagers | Dorfbewohner | los aldeanos | сельчане | wanakijiji | mutanen ƙauye
lawmakers | Abgeordnete | los diputados | депутаты | wabunge | ƴan majalisa
officials | Beamte | los funcionarios | чиновники | maafisa | jami'ai
young people | Jugendliche | los jóvenes | подростки | vijana | matasa
women | Frauen | las mujeres | женщины | wanawake | mata
"""

LOCAL_ACTORS = """
fishermen | Fischer | los pescadores | рыбаки | wavuvi | masunta
shepherds | Hirten | los pastores | пастухи | wachungaji | makiyaya
firefighters | Feuerwehrleute | los bomberos | пожарные | wazima moto | ƴan kwana-kwana
hunters | Jäger | los cazadores | охотники | wawindaji | mafarauta
singers | Sänger | los cantantes | певцы | waimbaji | mawaƙa
blacksmiths | Schmiede | los herreros | кузнецы | wahunzi | maƙera
tailors | Schneider | los sastres | портные | washonaji | maɗinka
weavers | Weber | los tejedores | ткачи | wafumaji | masaƙa
"""

COMMON_REASONS = """
heavy rain | starken Regens | las fuertes lluvias | сильного дождя | mvua kubwa | ruwan sama mai ƙarfi
a strike | eines Streiks | una huelga | забастовки | mgomo | yajin aiki
a fire | eines Brandes | un incendio | пожара | moto | gobara
a lack of money | Geldmangels | la falta de dinero | нехватки денег | ukosefu wa fedha | rashin kuɗi
the election | der Wahl | las elecciones | выборов | uchaguzi | zaɓe
the war | des Krieges | la guerra | войны | vita | yaƙi
an epidemic | einer Seuche | una epidemia | эпидемии | ugonjwa | annoba
the drought | der Dürre | la sequía | засухи | ukame | fari
an earthquake | eines Erdbebens | un terremoto | землетрясения | tetemeko la ardhi | girgizar ƙasa
bribery | Bestechung | los sobornos | взяток | rushwa | cin hanci
a court ruling | eines Urteils | una sentencia | приговора | hukumu | hukunci
high prices | hoher Preise | los precios altos | высоких цен | bei kubwa | tsadar kaya
an accident | eines Unfalls | un accidente | аварии | ajali | hatsari
a new law | eines neuen Gesetzes | una nueva ley | нового закона | sheria mpya | sabuwar doka
the storm | des Sturms | la tormenta | бури | dhoruba | guguwa
the peace treaty | des Friedensvertrags | un acuerdo de paz | мирного договора | mkataba wa amani | yarjejeniyar sulhu
"""

LOCAL_REASONS = """
locusts | der Heuschrecken | las langostas | саранчи | nzige | fara
rats | der Ratten | las ratas | крыс | panya | ɓeraye
a bad smell | Gestanks | el mal olor | вони | harufu mbaya | wari
the frost | des Frosts | la helada | мороза | baridi kali | sanyi
a wedding | einer Hochzeit | una boda | свадьбы | harusi | aure
"""

COMMON_OUTCOMES = """
Thousands protested. | Tausende protestierten. | Miles de vecinos salieron a la calle. | Тысячи людей вышли на улицы. | Maelfu waliandamana. | Dubban mutane sun yi zanga-zanga.
The government resigned. | Die Regierung trat ab. | El gobierno dimitió. | Правительство ушло в отставку. | Serikali ilijiuzulu. | Gwamnati ta yi murabus.
Traffic stood still for days. | Der Verkehr stand tagelang still. | El tráfico se paró varios días. | Движение остановилось на несколько дней. | Usafiri ulisimama kwa siku kadhaa. | Zirga-zirga ta tsaya na kwanaki.
Prices rose sharply. | Die Preise stiegen stark. | Los precios subieron mucho. | Цены резко выросли. | Bei zilipanda sana. | Farashi ya tashi sosai.
Many families lost their homes. | Viele Familien verloren ihr Zuhause. | Muchas familias perdieron su casa. | Многие семьи остались без дома. | Familia nyingi zilipoteza makazi. | Iyalai da yawa sun rasa gidajensu.
The owners went to court. | Die Eigentümer klagten. | Los dueños presentaron una demanda. | Владельцы подали иск. | Wamiliki walifungua kesi. | Masu shi sun kai ƙara.
Neighbouring countries sent help. | Nachbarländer schickten Hilfe. | Los países vecinos enviaron ayuda. | Соседние страны прислали помощь. | Nchi jirani zilituma msaada. | Ƙasashe maƙwabta sun aika taimako.
New jobs appeared. | Neue Stellen entstanden. | Se crearon nuevos empleos. | Появились новые рабочие места. | Nafasi mpya za kazi zilipatikana. | An samu sabbin ayyuka.
Several people were arrested. | Mehrere Menschen kamen in Haft. | Varias personas fueron detenidas. | Несколько человек арестовали. | Watu kadhaa walikamatwa. | An kama mutane da dama.
The residents celebrated. | Die Bewohner feierten. | Los habitantes lo celebraron. | Жители устроили праздник. | Wenyeji walisherehekea. | Mazauna sun yi murna.
Travellers stayed away. | Reisende blieben aus. | Los turistas dejaron de venir. | Туристы перестали приезжать. | Watalii waliacha kuja. | Masu yawon buɗe ido sun daina zuwa.
The lights went out. | Der Strom fiel aus. | Se fue la luz. | Погас свет. | Umeme ulikatika. | Wuta ta ɗauke.
"""

LOCAL_OUTCOMES = """
The cows ran away. | Die Kühe liefen davon. | Las vacas se escaparon. | Коровы разбежались. | Ng'ombe walikimbia. | Shanu sun gudu.
The choir sang all night. | Der Chor sang die ganze Nacht. | El coro cantó toda la noche. | Хор пел всю ночь. | Kwaya iliimba usiku kucha. | An yi waƙa har gari ya waye.
The neighbours quarrelled. | Die Nachbarn stritten sich. | Los vecinos se pelearon. | Соседи поссорились. | Majirani waligombana. | Maƙwabta sun yi faɗa.
"""

MONTHS = """
January | Januar | enero | января | Januari | Janairu
February | Februar | febrero | февраля | Februari | Fabrairu
March | März | marzo | марта | Machi | Maris
April | April | abril | апреля | Aprili | Afrilu
May | Mai | mayo | мая | Mei | Mayu
June | Juni | junio | июня | Juni | Yuni
July | Juli | julio | июля | Julai | Yuli
August | August | agosto | августа | Agosti | Agusta
September | September | septiembre | сентября | Septemba | Satumba
October | Oktober | octubre | октября | Oktoba | Oktoba
November | November | noviembre | ноября | Novemba | Nuwamba
December | Dezember | diciembre | декабря | Desemba | Disamba
"""

QUESTIONS = """
who was it?/who is behind it? | wer war es?/wer steckt dahinter? | ¿quiénes fueron?/¿quién está detrás? | кто это сделал?/кто за этим стоит? | ni nani?/nani anahusika? | su wane ne?/wa ke da hannu?
why?/what was the reason? | warum?/was war der Grund? | ¿por qué?/¿cuál fue la causa? | почему?/в чём причина? | kwa nini?/sababu ilikuwa nini? | don me?/mene ne dalili?
at what cost?/how much was paid? | wie teuer war das?/was wurde bezahlt? | ¿a qué coste?/¿cuánto se pagó? | сколько это стоило?/какова цена? | gharama ni ngapi?/kiasi gani kililipwa? | nawa aka kashe?/nawa ne kuɗin?
when?/on which day? | wann?/an welchem Tag? | ¿cuándo?/¿qué día? | когда?/в какой день? | lini?/siku gani? | yaushe?/wace rana?
what happened then?/with what result? | was geschah danach?/mit welcher Folge? | ¿qué pasó después?/¿con qué resultado? | что было потом?/каковы последствия? | nini kilifuata?/matokeo ni yapi? | me ya biyo baya?/mene ne sakamako?
"""

ANSWERS = """
{story}. They had planned it for {number} months. | {story}. Sie planten es {number} Monate lang. | {story}. Lo prepararon durante {number} meses. | {story}. Они готовились {number} месяцев. | {story}. Walijiandaa kwa miezi {number}. | {story}. Sun shirya na watanni {number}.
{story} because of {reason}. | {story} wegen {reason}. | {story} por {reason}. | {story} из-за {reason}. | {story} kwa sababu ya {reason}. | {story} saboda {reason}.
{story}. It cost {number} million euros. | {story}. Das kostete {number} Millionen Euro. | {story}. Costó {number} millones de euros. | {story}. Это стоило {number} миллионов евро. | {story}. Iligharimu euro milioni {number}. | {story}. An kashe Yuro miliyan {number}.
{story}. That was on {number} {month}. | {story}. Das war am {number}. {month}. | {story}. Fue el {number} de {month}. | {story}. Это было {number} {month}. | {story}. Ilikuwa tarehe {number} {month}. | {story}. Hakan ya faru ran {number} ga {month}.
{story}. {outcome} | {story}. {outcome} | {story}. {outcome} | {story}. {outcome} | {story}. {outcome} | {story}. {outcome}
"""
