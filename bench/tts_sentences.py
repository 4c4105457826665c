"""What the embedded voices are asked to say: answers as an assistant gives them, and the words to be heard.

Written for this purpose. Where a sentence holds figures or signs, the second text is how it is read out.
"""

SENTENCES: tuple[tuple[str, str], ...] = (
    # short answers
    ("Yes, of course.", ""),
    ("No, I am afraid not.", ""),
    ("One moment, please.", ""),
    ("I did not understand that.", ""),
    ("Could you say that again?", ""),
    ("You are welcome.", ""),
    ("Good morning, how can I help you?", ""),
    ("The kitchen light is on.", ""),
    ("All right, I have turned off the heating in the bedroom.", ""),
    ("There is nothing on your list today.", ""),
    # times and dates
    ("It is 5:30 in the afternoon.", "it is five thirty in the afternoon"),
    (
        "Your train leaves at 8:15 from platform 4.",
        "your train leaves at eight fifteen from platform four",
    ),
    ("The meeting was moved to Tuesday at noon.", ""),
    ("Your appointment is on the 3rd of June.", "your appointment is on the third of june"),
    ("I have set a timer for 10 minutes.", "i have set a timer for ten minutes"),
    ("You have 2 hours and 20 minutes left.", "you have two hours and twenty minutes left"),
    ("The shop closes at six on Saturdays.", ""),
    ("Your next holiday begins in eleven days.", ""),
    # numbers and amounts
    ("There are 12 people on the list.", "there are twelve people on the list"),
    (
        "It will be 21 degrees with a little wind.",
        "it will be twenty one degrees with a little wind",
    ),
    (
        "The box weighs 7 pounds and is 16 inches long.",
        "the box weighs seven pounds and is sixteen inches long",
    ),
    ("Seventy five percent of the work is done.", ""),
    ("Add 3 eggs and 100 grams of sugar.", "add three eggs and one hundred grams of sugar"),
    ("Room 9 is on the second floor.", "room nine is on the second floor"),
    ("The number is five five five, one two three four.", ""),
    ("One half of forty eight is twenty four.", ""),
    # names and places
    ("Mary and Peter are coming to dinner on Friday.", ""),
    ("The next flight to London is full.", ""),
    ("David called twice and left a message.", ""),
    ("Paris is the capital of France.", ""),
    ("Doctor Brown can see you on Monday morning.", ""),
    ("William Shakespeare was born in the town of Stratford.", ""),
    # statements, questions and requests of some length
    ("The weather tomorrow will be cold and cloudy, with rain in the evening.", ""),
    ("I found three restaurants near you, and the first one is open until midnight.", ""),
    ("Would you like me to read the whole message, or only the first part of it?", ""),
    ("Please put the glasses on the upper shelf and close the door behind you.", ""),
    ("The blue book is under the table, next to the old chair.", ""),
    ("You can take the bus to the station, or walk along the river for half an hour.", ""),
    ("If the water does not boil after ten minutes, check whether the stove is really on.", ""),
    ("The small dog ran across the road and jumped over the garden wall.", ""),
    ("Most people need about eight hours of sleep, but some are happy with less.", ""),
    ("To reset the machine, hold the power button down until the red light goes out.", ""),
    ("He bought a new coat because the old one was too thin for the winter.", ""),
    ("The story is about a young woman who leaves her village to work in the city.", ""),
    ("Remember to bring your passport, your ticket, and a warm jacket.", ""),
    ("The children played in the park while their parents talked about the school.", ""),
    ("Fresh bread smells best early in the morning, when the streets are still quiet.", ""),
    ("Thank you for waiting, I have sent the letter and saved a copy for you.", ""),
)
